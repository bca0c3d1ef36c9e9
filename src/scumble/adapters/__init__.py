"""Small networks beside the frozen one."""
