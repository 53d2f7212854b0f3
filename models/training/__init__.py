"""How the embedded model is made: data, training, evaluation, release. Not used when serving."""
