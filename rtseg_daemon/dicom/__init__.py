"""Everything that speaks DICOM: files, structure sets and the network."""
