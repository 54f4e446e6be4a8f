"""How the engine's own heads are trained and measured. Not in the wheel; needs the development dependencies."""
