"""How the tiny variant's weights were made: drawn scenes, their captions, and the training."""
