"""What the workflow ``story`` is made of: the idea, the texts, the character card, the consistency of the pages."""
