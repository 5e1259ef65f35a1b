"""The parts of a marketing campaign: catalogues, prompts, base images, and products that stay as they are.

Invariant: nothing here spends anything or asks a model by itself; ``workflows.campaign`` puts them together.
"""
