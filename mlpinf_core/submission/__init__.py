"""The tree that is submitted: staged from runs, checked, cut, packed."""
