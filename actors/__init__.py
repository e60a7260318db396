"""Ray actors, the only importer of Ray: none yet, the executor in use is the serial one."""
