"""What a run gave, as text, JSON, CSV and a picture."""
