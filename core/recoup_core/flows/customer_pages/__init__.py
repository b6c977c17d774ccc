"""What customers see behind the links in their messages."""
