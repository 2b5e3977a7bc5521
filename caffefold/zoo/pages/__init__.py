"""What a run writes beside the models: HTML pages, zoo.json and zoo.csv."""
