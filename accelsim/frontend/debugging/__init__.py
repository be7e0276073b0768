"""The paper's debugging flowchart (section 3.6), walked by the simulator."""
