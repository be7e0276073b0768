"""Loop nest × array → counts of cycles and accesses, in closed form."""
