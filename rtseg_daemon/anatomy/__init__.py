"""What a patient's body is made of here: a volume on its grid, an organ, left and right."""
