"""Recipes that are fitted in a moment."""

from deepmoviematch.trainer.recipe import RetrievalRecipe, SeedRecipe

SEED = SeedRecipe(name="seed", epochs=2)
RETRIEVAL = RetrievalRecipe(
    name="ours",
    embedding_dim=8,
    hidden=(8,),
    epochs=3,
    batch_size=16,
    ease_penalty=5,
)
