import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { chooseApplicationFile, contextCopies, startedBy } from "../dist/measure/application-file.js"
import { lineOfLayer, parseDockerfile } from "../dist/measure/dockerfile.js"

const FILES = [
  "Dockerfile",
  "README.md",
  "__init__.py",
  "client.py",
  "openenv.yaml",
  "pyproject.toml",
  "server/__init__.py",
  "server/app.py",
  "server/environment.py",
  "tests/test_app.py",
  "uv.lock",
]

const choose = (dockerfile: string, command: readonly string[] = [], files: readonly string[] = FILES) =>
  chooseApplicationFile({ stages: parseDockerfile(dockerfile), files, command })

const UVICORN = ["sh", "-c", "cd /app/env && uvicorn server.app:app --host 0.0.0.0 --port 8000"]

describe("the file that is changed", () => {
  it.each<[string, string[], string]>([
    ["OpenEnv's command", UVICORN, "server/app.py"],
    ["a module", ["python", "-m", "server.environment"], "server/environment.py"],
    ["uvicorn as a module", ["python", "-m", "uvicorn", "server.app:app"], "server/app.py"],
    ["a package", ["python", "-m", "server"], "server/__init__.py"],
    ["a path in the image", ["python", "/app/env/server/app.py"], "server/app.py"],
    ["a relative path", ["python", "./client.py"], "client.py"],
  ])("is what %s starts", (_, command, path) => {
    expect(choose("FROM x\nCOPY . /app/env\n", command)).toMatchObject({ path, because: "started-by-command" })
  })

  it("is a source of what is copied last where the command does not say", () => {
    const dockerfile = "FROM x\nCOPY pyproject.toml client.py /app/\nCOPY server /app/server\nRUN make\n"
    expect(choose(dockerfile, ["run-it"])).toEqual({
      path: "server/app.py",
      because: "copied-source",
      copiedBy: 3,
      appended: "\n# a change of one comment\n",
    })
  })

  it("is found through the stages that the final one copies from", () => {
    const dockerfile = [
      "ARG BASE=python",
      "FROM ${" + "BASE} AS builder",
      "COPY . /app/env",
      "RUN uv sync",
      "FROM ${" + "BASE}",
      "COPY --from=builder --chown=1:1 /app/env/.venv /app/.venv",
      "COPY --from=builder /app/env /app/env",
      "COPY --from=ghcr.io/astral-sh/uv:0.5 /uv /bin/",
    ].join("\n")
    expect(choose(dockerfile, UVICORN)).toMatchObject({ path: "server/app.py", copiedBy: 3 })
  })

  it.each([
    ["nothing from the context", "FROM x\nRUN make\n"],
    ["only a lock file", "FROM x\nCOPY uv.lock pyproject.toml README.md /\n"],
    ["only tests", "FROM x\nCOPY tests /tests\n"],
    ["a heredoc", "FROM x\nCOPY <<EOF /app.py\nprint()\nEOF\n"],
    ["an address", "FROM x\nADD https://example.com/app.py /app.py\n"],
    ["a variable", "FROM x\nCOPY $SOURCE /app\n"],
    ["a pattern that cannot be", "FROM x\nCOPY [a /app\n"],
    ["nothing at all", ""],
    ["into a stage that is not shipped", "FROM x AS a\nCOPY . /\nFROM y\nRUN make\n"],
  ])("is none where the Dockerfile copies %s", (_, dockerfile) => {
    expect(choose(dockerfile, UVICORN)).toBeUndefined()
  })

  it.each<[string, string]>([
    ["COPY server/*.py ./server/", "server/app.py"],
    ['COPY ["server", "/a b/"]', "server/app.py"],
    ["copy ./server/ /x/", "server/app.py"],
    ["COPY --chown=1:1 \\\n  # why\n  server \\\n\n  /x/", "server/app.py"],
    ["ADD /server /x/", "server/app.py"],
    ["COPY ../server /x/", "server/app.py"],
  ])("is read from %j", (instruction, path) => {
    expect(choose(`FROM x\n${instruction}\n`, UVICORN)?.path).toBe(path)
  })

  it("gets a comment of its language", () => {
    expect(choose("FROM x\nCOPY . .\n", ["node", "main.mjs"], ["main.mjs"])?.appended).toBe(
      "\n// a change of one comment\n",
    )
  })

  it("is chosen without fail or hang, whatever the texts", () => {
    const text = fc.oneof(
      fc.string(),
      fc
        .array(
          fc.constantFrom("FROM ", "COPY ", "RUN ", "\\\n", "\n", "<<E", "*", "?", "[", "!", "#", "a", "/", "--from="),
        )
        .map(parts => parts.join("")),
    )
    fc.assert(
      fc.property(text, fc.array(fc.string(), { maxLength: 5 }), (dockerfile, command) => {
        const stages = parseDockerfile(`FROM x\n${dockerfile}`)
        chooseApplicationFile({ stages, files: FILES, command })
        expect(contextCopies(stages).every(({ line }) => line > 1)).toBe(true)
        startedBy(command)
      }),
    )
  })
})

describe("a layer's line", () => {
  const dockerfile = [
    "# syntax=docker/dockerfile:1",
    "FROM base AS a",
    "COPY x /",
    "FROM base",
    "RUN <<END",
    "FROM nothing",
    "END",
    "COPY --from=a \\",
    "  /x /",
    "RUN make \\",
    "    all",
    "WORKDIR /app",
    "COPY y /",
  ].join("\n")
  const history = [
    "ADD file:1 in /",
    "RUN <<END",
    "COPY dir:2 in /",
    "RUN make     all",
    "WORKDIR /app",
    "COPY file:3 in /",
  ]
  const stages = parseDockerfile(dockerfile)

  it.each([
    [5, 13],
    [3, 10],
    [2, 8],
    [0, null],
  ])("of layer %i is %s", (layer, line) => {
    expect(lineOfLayer(stages, history, layer)).toBe(line)
  })

  it("is not told where history and Dockerfile do not agree", () => {
    const other = [...history.slice(0, 3), "RUN make other", ...history.slice(4)]
    expect(lineOfLayer(stages, other, 3)).toBeNull()
    expect(lineOfLayer(stages, [null, null], 0)).toBeNull()
    expect(lineOfLayer([], history, 5)).toBeNull()
  })

  it("goes through the stages that the final one is built on", () => {
    const built = parseDockerfile("FROM base AS a\nRUN one\nFROM a\nCOPY x /\n")
    expect(lineOfLayer(built, ["ADD base", "RUN one", "COPY file:1 in /"], 1)).toBe(2)
  })
})
