"""The colour maze: a grid world in which a teacher sees a path through lava and its student does not."""
