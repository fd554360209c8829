#!/usr/bin/env node
// What git runs for `rclaude::TASK`: git finds a remote's helper by this name (gitremote-helpers(7)).
process.argv.splice(2, 0, 'git-remote')
await import('./rclaude.js')
