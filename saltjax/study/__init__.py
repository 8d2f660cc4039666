"""Studies of post-training data: which languages, tasks and amounts make a model better, also in languages it is not
trained on. After A Post-trainer's Guide to Multilingual Training Data (Shimabucoro et al. 2025, arXiv 2504.16677)."""
