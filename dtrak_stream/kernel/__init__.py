"""The damped kernel (G + lambda I)^-1: choosing lambda, factoring, solving. All float64."""
