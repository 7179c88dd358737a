"""What a run does beside its steps: counts, draws, saves, reports and stops. Public ones are in padinv.training."""
