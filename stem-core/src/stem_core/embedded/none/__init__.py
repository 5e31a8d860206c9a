"""`none://`: no results are kept, nothing is signed, and both on purpose."""
