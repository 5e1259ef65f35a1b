"""The offline illustrator behind the draft backend: reads a prompt, mixes a palette and draws a small poster scene."""
