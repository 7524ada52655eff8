"""What events there are: one pure module for each kind; `registry` finds them."""
