"""What follows from a net as a whole: shapes, channels, costs, health, and whether weights fit."""
