"""Characters with rare traits: the catalogue of a collection, exact quotas, rarity, and what marketplaces read."""
