#!/usr/bin/env node
// Plain JavaScript that any Node can parse: it says in one line when the running Node is too old, and only then loads the program.
const [major, minor, patch] = process.versions.node.split(".").map(Number)
const supported =
  (major === 22 && (minor > 22 || (minor === 22 && patch >= 2))) || (major === 24 && minor >= 15) || major >= 26
if (!supported) {
  console.error(
    `emit-evidence needs Node ^22.22.2, ^24.15 or >=26; this is ${process.versions.node}. Install a supported Node and run it again.`,
  )
  process.exitCode = 1
} else {
  await import("../dist/bin.js")
}
