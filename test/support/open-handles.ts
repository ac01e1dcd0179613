/** Loaded before every test file: on SIGUSR2 (from test/run.ts) it names what keeps the process alive, and ends it. */

process.on('SIGUSR2', () => {
  console.log(`open: ${process.getActiveResourcesInfo().join(', ')}`);
  process.exit(1);
});
