//! Data sets: reading, splitting, augmentation, loading beside the training step.
