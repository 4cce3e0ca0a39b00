"""Small widgets that know no tab."""
