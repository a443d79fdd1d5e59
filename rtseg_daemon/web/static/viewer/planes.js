// The three planes: which axis of (z, y, x) each one cuts, and how voxels and millimetres become columns and rows.
// A picture's coordinates count pixels from its upper left corner. The centre of the first pixel lies at 0.5.

export const AXIS = { axial: 0, coronal: 1, sagittal: 2 };
export const PLANES = ["axial", "coronal", "sagittal"];
const COLUMN_AXIS = { axial: 2, coronal: 2, sagittal: 1 };
const ROW_AXIS = { axial: 1, coronal: 0, sagittal: 0 };

/** Letters at the left, right, upper and lower edge. The axes of a volume are the patient's, however it was stored. */
export const LETTERS = {
  axial: ["R", "L", "A", "P"],
  coronal: ["R", "L", "S", "I"],
  sagittal: ["A", "P", "S", "I"],
};

export class Geometry {
  constructor(said) {
    this.shape = said.shape;
    this.spacing = said.spacing_mm;
    this.origin = said.origin_mm;
    this.z = said.z_mm;
    this.tag = said.tag;
  }

  count(plane) {
    return this.shape[AXIS[plane]];
  }

  columns(plane) {
    return this.shape[COLUMN_AXIS[plane]];
  }

  rows(plane) {
    return this.shape[ROW_AXIS[plane]];
  }

  /** Width and height of a picture's pixel in mm. */
  pixel(plane) {
    return [this.spacing[COLUMN_AXIS[plane]], this.spacing[ROW_AXIS[plane]]];
  }

  /** Patient mm of index k along an axis. */
  mm(axis, k) {
    return axis === 0 && Number.isInteger(k) && k >= 0 && k < this.z.length
      ? this.z[k]
      : this.origin[axis] + k * this.spacing[axis];
  }

  /** Index of the slice on which a plane of z mm lies, or -1. */
  sliceAt(z) {
    let best = 0;
    for (let k = 1; k < this.z.length; k += 1) {
      if (Math.abs(this.z[k] - z) < Math.abs(this.z[best] - z)) best = k;
    }
    return Math.abs(this.z[best] - z) <= this.spacing[0] / 2 ? best : -1;
  }

  /** Index along an axis nearest to a coordinate in mm. */
  nearest(axis, mm) {
    const k = Math.round((mm - this.origin[axis]) / this.spacing[axis]);
    return Math.min(Math.max(k, 0), this.shape[axis] - 1);
  }

  /** Column in a picture of patient mm along its column axis. */
  column(plane, mm) {
    const axis = COLUMN_AXIS[plane];
    return (mm - this.origin[axis]) / this.spacing[axis] + 0.5;
  }

  /** Row in a picture of patient mm along its row axis. Coronal and sagittal pictures have the head up. */
  row(plane, mm) {
    const axis = ROW_AXIS[plane];
    const along = (mm - this.origin[axis]) / this.spacing[axis] + 0.5;
    return plane === "axial" ? along : this.shape[0] - along;
  }

  /** Voxel (z, y, x) under a place in a picture of slice k, as whole numbers inside the volume. */
  voxel(plane, k, column, row) {
    const found = [0, 0, 0];
    found[AXIS[plane]] = k;
    found[COLUMN_AXIS[plane]] = Math.floor(column);
    found[ROW_AXIS[plane]] = Math.floor(plane === "axial" ? row : this.shape[0] - row);
    return found.map((at, axis) => Math.min(Math.max(at, 0), this.shape[axis] - 1));
  }

  /** Column and row of the centre of a voxel. */
  place(plane, voxel) {
    const row = voxel[ROW_AXIS[plane]];
    return [voxel[COLUMN_AXIS[plane]] + 0.5, plane === "axial" ? row + 0.5 : this.shape[0] - row - 0.5];
  }
}
