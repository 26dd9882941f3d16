import { execFileSync } from "node:child_process"
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs"
import { dirname, join } from "node:path"
import peer from "@balena/dockerignore"
import { compareBytewise, submissionDigest } from "@envidence/core"
import { type BuildContextOptions, DockerIgnore, readBuildContext, stageBuildContext } from "@envidence/oci"
import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { refusal, refusalCode, sha256, temporaryFolder } from "./layers.js"

type Tree = Readonly<Record<string, string>>

function write(tree: Tree, folder = temporaryFolder()): string {
  for (const [path, content] of Object.entries(tree)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true })
    writeFileSync(join(folder, path), content)
  }
  return folder
}

const none: BuildContextOptions = { dockerfile: null }
const paths = async (folder: string, options = none) =>
  (await readBuildContext(folder, options)).map(({ path }) => path)
const digestOf = async (folder: string, options = none) => submissionDigest(await readBuildContext(folder, options))

describe("the rows of a context", () => {
  it("are files, executables and links, sorted bytewise", async () => {
    const folder = write({
      b: "b",
      "a/z": "z",
      "a-": "x",
      ü: "u",
      "run.sh": "#!/bin/sh\n",
      "z\u{1f600}": "",
      "z\uffee": "",
    })
    chmodSync(join(folder, "run.sh"), 0o700)
    symlinkSync("../../outside", join(folder, "link"))
    const rows = await readBuildContext(folder, none)
    expect(rows).toContainEqual({ path: "b", kind: "file", size: 1, sha256: sha256("b") })
    expect(rows).toContainEqual({ path: "run.sh", kind: "executable", size: 10, sha256: sha256("#!/bin/sh\n") })
    expect(rows).toContainEqual({ path: "link", kind: "symlink", size: 13, sha256: sha256("../../outside") })
    const order = rows.map(({ path }) => path)
    expect(order).toEqual([...order].sort(compareBytewise))
    expect(order.slice(-2)).toEqual(["z\u{1f600}", "ü"].sort(compareBytewise))
  })

  it("hold no .git, file or folder, at any depth, and no empty folders", async () => {
    const folder = write({ "a/b": "", ".git/config": "", "sub/.git": "gitdir: x", "sub/x": "", ".gitignore": "" })
    mkdirSync(join(folder, "empty", "er"), { recursive: true })
    expect(await paths(folder)).toEqual([".gitignore", "a/b", "sub/x"])
  })

  it("hold nothing that .dockerignore leaves out, but what exceptions take back", async () => {
    const folder = write({
      ".dockerignore": "# comment\n\n/build\n**/*.pyc\n*.md\n!README.md\ndata\n!data/keep/this\n",
      "build/x": "",
      "sub/build/x": "",
      "a.pyc": "",
      "p/q/b.pyc": "",
      "NOTES.md": "",
      "README.md": "",
      "data/drop": "",
      "data/keep/this": "",
      "data/keep/that": "",
    })
    expect(await paths(folder)).toEqual([".dockerignore", "README.md", "data/keep/this", "sub/build/x"])
  })

  it("are the same however often a pattern repeats its `**/`", () => {
    for (const path of ["z", "a/z", "a/b/z", "a/b/zz", "z/a"]) {
      const once = new DockerIgnore("**/z").ignores(path)
      expect(new DockerIgnore(`${"**/".repeat(20_000)}z`).ignores(path)).toBe(once)
    }
  })

  it("are refused where the patterns take too long, by count and not by time", async () => {
    expect(() => new DockerIgnore(`[${"a".repeat(1000)}]`)).toThrow(/more than 256 characters/)
    const ignore = new DockerIgnore(`${"**a".repeat(1000)}z`, 100_000)
    const askAbout = (length: number) => refusalCode(Promise.resolve().then(() => ignore.ignores("a".repeat(length))))
    expect(ignore.ignores("a".repeat(10))).toBe(false)
    expect(await askAbout(1000)).toBe("invalid-submission")
  })

  it("always hold the Dockerfile, .dockerignore and openenv.yaml", async () => {
    const folder = write({ ".dockerignore": "*\n", "openenv.yaml": "", "server/Dockerfile": "", "server/x": "", y: "" })
    expect(await paths(folder, { dockerfile: "server/Dockerfile" })).toEqual([
      ".dockerignore",
      "openenv.yaml",
      "server/Dockerfile",
    ])
  })

  it("do not follow links to folders", async () => {
    const outside = write({ secret: "s" })
    const folder = write({ a: "" })
    symlinkSync(outside, join(folder, "out"))
    expect(await paths(folder)).toEqual(["a", "out"])
  })
})

describe("a submission's digest", () => {
  const tree = { Dockerfile: "FROM scratch\n", "src/main.py": "print()\n", "run.sh": "#!/bin/sh\n" }

  it("agrees for two clones that differ in modes, times, .git and empty folders", async () => {
    const [one, two] = [write(tree), write(tree)]
    for (const folder of [one, two]) chmodSync(join(folder, "run.sh"), 0o755)
    chmodSync(join(two, "src/main.py"), 0o600)
    chmodSync(join(two, "run.sh"), 0o744)
    utimesSync(join(two, "Dockerfile"), 1, 1)
    write({ ".git/HEAD": "x" }, two)
    mkdirSync(join(two, "empty"))
    expect(await digestOf(two)).toBe(await digestOf(one))
  })

  it("differs by content, path, executable bit, and a link in a file's place", async () => {
    const original = write(tree)
    const content = write({ ...tree, "src/main.py": "print(1)\n" })
    const moved = write({ Dockerfile: tree.Dockerfile, "src/other.py": tree["src/main.py"], "run.sh": tree["run.sh"] })
    const executable = write(tree)
    chmodSync(join(executable, "run.sh"), 0o755)
    const linked = write({ Dockerfile: tree.Dockerfile, "run.sh": tree["run.sh"] })
    mkdirSync(join(linked, "src"))
    symlinkSync(tree["src/main.py"], join(linked, "src/main.py"))
    const digests = await Promise.all([original, content, moved, executable, linked].map(folder => digestOf(folder)))
    expect(new Set(digests).size).toBe(5)
  })

  it("is injective where joining paths and contents by NUL is not", async () => {
    expect(await digestOf(write({ a: "x\0b\0y" }))).not.toBe(await digestOf(write({ a: "x", b: "y" })))
  })

  it("is the sha256 of canonical JSON", async () => {
    const folder = write({ a: "x" })
    const text = `[{"kind":"file","path":"a","sha256":"${sha256("x")}","size":1}]`
    expect(await digestOf(folder)).toBe(`sha256:${sha256(text)}`)
  })
})

describe("a staged copy", () => {
  it("has the same rows, modes 0644 and 0755, one time, and links as links", async () => {
    const folder = write({ "a/b/c": "c", "x.sh": "x", ".git/HEAD": "", ".dockerignore": "skip\n", skip: "" })
    chmodSync(join(folder, "x.sh"), 0o777)
    chmodSync(join(folder, "a/b/c"), 0o600)
    symlinkSync("/etc/passwd", join(folder, "a/link"))
    const copy = join(temporaryFolder(), "copy")
    const rows = await stageBuildContext(folder, copy, { ...none, mtime: 1_700_000_000 })
    expect(rows).toEqual(await readBuildContext(folder, none))
    expect(await readBuildContext(copy, none)).toEqual(rows)
    const modes = { "": 0o755, a: 0o755, "a/b": 0o755, "a/b/c": 0o644, "x.sh": 0o755, ".dockerignore": 0o644 }
    for (const [path, mode] of Object.entries(modes)) expect(statSync(join(copy, path)).mode & 0o7777).toBe(mode)
    for (const path of [...Object.keys(modes), "a/link"])
      expect(lstatSync(join(copy, path)).mtimeMs).toBe(1_700_000_000_000)
    expect(readlinkSync(join(copy, "a/link"))).toBe("/etc/passwd")
    expect(readdirSync(copy).sort()).toEqual([".dockerignore", "a", "x.sh"])
  })

  it("is exact for large files", async () => {
    const folder = write({ large: "" })
    const bytes = Buffer.alloc(3_500_000, "0123456789")
    writeFileSync(join(folder, "large"), bytes)
    const copy = temporaryFolder()
    const [row] = await stageBuildContext(folder, copy, none)
    expect(row).toMatchObject({ size: bytes.length, sha256: sha256(bytes) })
    expect(readFileSync(join(copy, "large")).equals(bytes)).toBe(true)
  })

  it("demands the Dockerfile, which reading does not", async () => {
    const folder = write({ a: "" })
    const options = { dockerfile: "server/Dockerfile" }
    expect(await refusalCode(stageBuildContext(folder, temporaryFolder(), options))).toBe("invalid-submission")
    expect((await readBuildContext(folder, options)).map(({ path }) => path)).toEqual(["a"])
  })

  it("goes only into a new or empty folder outside the submission", async () => {
    const folder = write({ a: "" })
    expect(await refusalCode(stageBuildContext(folder, join(folder, "copy"), none))).toBe("usage")
    expect(await refusalCode(stageBuildContext(folder, write({ x: "" }), none))).toBe("usage")
  })
})

describe("a refused submission", () => {
  const broken: [string, string, (folder: string) => void, BuildContextOptions?][] = [
    ["has a pipe", "invalid-submission", folder => execFileSync("mkfifo", [join(folder, "pipe")])],
    [
      "has a name that is not UTF-8",
      "invalid-submission",
      folder => writeFileSync(Buffer.concat([Buffer.from(`${folder}/`), Buffer.of(0xff)]), ""),
    ],
    [
      "has a link for a Dockerfile",
      "invalid-submission",
      folder => symlinkSync("/etc/passwd", join(folder, "Dockerfile")),
      { dockerfile: "Dockerfile" },
    ],
    [
      "has a link for openenv.yaml",
      "invalid-submission",
      folder => symlinkSync("/etc/passwd", join(folder, "openenv.yaml")),
    ],
    [
      "has a link for .dockerignore",
      "invalid-submission",
      folder => symlinkSync("/etc/passwd", join(folder, ".dockerignore")),
    ],
    [
      "has an enormous .dockerignore",
      "invalid-submission",
      folder => truncateSync(join(write({ ".dockerignore": "" }, folder), ".dockerignore"), 10 ** 9),
    ],
    ["has a pattern that Docker refuses", "invalid-submission", folder => write({ ".dockerignore": "[a\n" }, folder)],
    ["has 2,000 patterns", "invalid-submission", folder => write({ ".dockerignore": "a\n".repeat(2000) }, folder)],
    ["lies too deep", "limit-exceeded", folder => write({ [`${"d/".repeat(70)}f`]: "" }, folder)],
    [
      "has too many files",
      "limit-exceeded",
      folder => write({ a: "", b: "", c: "" }, folder),
      { dockerfile: null, limits: { files: 2 } },
    ],
    [
      "has too many bytes",
      "limit-exceeded",
      folder => write({ a: "xxx", b: "xxx" }, folder),
      { dockerfile: null, limits: { totalBytes: 5 } },
    ],
    [
      "has a path that is too long",
      "limit-exceeded",
      folder => write({ [`${"d".repeat(200)}/f`]: "" }, folder),
      { dockerfile: null, limits: { pathBytes: 100 } },
    ],
  ]
  it.each(broken)("%s", async (_, code, damage, options = none) => {
    const folder = write({ "f.txt": "" })
    damage(folder)
    expect(await refusalCode(readBuildContext(folder, options))).toBe(code)
  })

  it("does not exist, or is a file", async () => {
    const folder = write({ f: "" })
    expect(await refusalCode(readBuildContext(join(folder, "none"), none))).toBe("input-not-found")
    expect(await refusalCode(readBuildContext(join(folder, "f"), none))).toBe("input-not-found")
  })

  it("is told what is wrong with it, and what to do", async () => {
    const folder = write({ "f.txt": "" })
    execFileSync("mkfifo", [join(folder, "pipe")])
    const { message, hint } = await refusal(readBuildContext(folder, none))
    expect([message, hint]).toEqual([expect.stringContaining('"pipe"'), "Remove or ignore it."])
  })

  it("may ignore what it may not hold", async () => {
    const folder = write({ ".dockerignore": "pipe\n" })
    execFileSync("mkfifo", [join(folder, "pipe")])
    expect(await paths(folder)).toEqual([".dockerignore"])
  })
})

describe(".dockerignore", () => {
  const cases: [string, string[], string[]][] = [
    ["*.log", ["a.log"], ["d/a.log", "a.logs"]],
    ["**/*.log", ["a.log", "d/e/a.log"], ["a.logs"]],
    ["d", ["d", "d/x", "d/e/x"], ["e/d", "dd"]],
    ["d/", ["d", "d/x"], ["e/d"]],
    ["/d", ["d/x"], ["e/d/x"]],
    ["./d/../e", ["e/x"], ["d/x"]],
    ["d/*", ["d/x", "d/e/x"], ["d"]],
    ["d/**", ["d/x", "d/e/x"], ["d"]],
    ["**", ["a", "a/b"], []],
    ["**/x/**", ["x/a", "b/x/a", "b/c/x/d/e"], ["x", "xx/a"]],
    ["a/**/b", ["a/b", "a/x/b", "a/x/y/b/z"], ["a/xb", "b"]],
    ["a?c", ["abc"], ["ac", "a/c"]],
    ["[a-c]x", ["ax", "cx"], ["dx"]],
    ["[^a-c]x", ["dx"], ["ax"]],
    ["a+(b).txt", ["a+(b).txt"], ["aab.txt"]],
    ["a\\*", ["a*"], ["ab"]],
    ["A", ["A"], ["a"]],
    ["constructor", ["constructor"], ["toString"]],
    ["x\n!x/keep", ["x", "x/other"], ["x/keep", "x/keep/deep"]],
    ["!x\nx", ["x"], []],
    ["  x  \n#y", ["x"], ["y", "#y"]],
    ["\ufeffx", ["x"], []],
  ]
  it.each(cases)("%j", (text, ignored, kept) => {
    const ignore = new DockerIgnore(text)
    for (const path of ignored) expect([path, ignore.ignores(path)]).toEqual([path, true])
    for (const path of kept) expect([path, ignore.ignores(path)]).toEqual([path, false])
  })

  it("agrees with the known library on ordinary patterns", () => {
    const part = fc.constantFrom("a", "b", "ab", "*", "a*", "?", "**", "*.x")
    const pattern = fc
      .tuple(fc.constantFrom("", "!"), fc.array(part, { minLength: 1, maxLength: 4 }))
      .map(([mark, parts]) => mark + parts.join("/"))
    const path = fc
      .array(fc.constantFrom("a", "b", "ab", "a.x", "c"), { minLength: 1, maxLength: 4 })
      .map(parts => parts.join("/"))
    fc.assert(
      fc.property(fc.array(pattern, { maxLength: 4 }), path, (patterns, path) => {
        const text = patterns.join("\n")
        const theirs = peer.default({ ignorecase: false }).add(text)
        expect(new DockerIgnore(text).ignores(path)).toBe(theirs.ignores(path))
      }),
      { numRuns: 2000 },
    )
  })

  it("takes no longer for patterns that were made to", () => {
    const ignore = new DockerIgnore(`${"**/a*".repeat(500)}b\n(a+)+$\n`)
    const start = performance.now()
    expect(ignore.ignores(`${"a/".repeat(500)}c`)).toBe(false)
    expect(performance.now() - start).toBeLessThan(5000)
  })
})
