"""Models that other tools wrote: read into IntegerGraph, replayed against the runtimes they were made for."""
