"""The notifiers that come with Recoup."""
