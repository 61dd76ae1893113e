"""What recorder, operator and users share: the resource, the recorder's settings, its report."""
