"""What the workflow ``brand`` is made of: kits, the words of a request, prompts, and the measure of a palette."""
