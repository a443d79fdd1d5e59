"""A volume as the libraries that read and write image files know it."""

import SimpleITK as sitk

from rtseg_daemon.anatomy.volume import Volume


def to_image(volume: Volume) -> sitk.Image:
    """The volume as a SimpleITK image (which counts axes x, y, z)."""
    image = sitk.GetImageFromArray(volume.array)
    image.SetSpacing([float(s) for s in reversed(volume.spacing_mm)])
    image.SetOrigin([float(o) for o in reversed(volume.origin_mm)])
    return image
