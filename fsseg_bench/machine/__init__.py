"""What the machine is and lets this process have."""
