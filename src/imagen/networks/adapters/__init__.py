"""Small trained additions to a network whose own weights stay as they are."""
