"""Wire-level stand-ins of the services we call: real HTTP servers on localhost."""
