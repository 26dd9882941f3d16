import type { Reporter, TestModule } from "vitest/node"

/** Ends the output with the one line that scripts look for, and names what was skipped. */
export default class ClosingLine implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly unknown[]): void {
    const tests = modules.flatMap(module => [...module.children.allTests()])
    const count = (state: string) => tests.filter(test => test.result().state === state).length
    // A file that could not be loaded has no tests to fail.
    const broken = modules.filter(module => module.errors().length > 0).length
    for (const test of tests) if (test.result().state === "skipped") console.log(`skipped: ${test.fullName}`)
    console.log(
      `${count("passed")} passed, ${count("failed") + broken + unhandledErrors.length} failed, ${count("skipped")} skipped`,
    )
  }
}
