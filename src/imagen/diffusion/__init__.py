"""The mathematics of diffusion: schedules, parameterisations, guidance, samplers. Knows no files and no framework."""
