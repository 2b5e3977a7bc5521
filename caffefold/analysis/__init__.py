"""What a net as a whole tells: shapes, channels, costs, health, and whether weights fit."""
