"""The few layers that handle many languages (SLAM, Fan et al. 2025, arXiv 2501.03681)."""
