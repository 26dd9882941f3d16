// What the documents say is what the code does.
import { createHash } from "node:crypto"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { dirname, join } from "node:path"
import {
  assertDocument,
  catalogue,
  deriveSeeds,
  exitCodeOf,
  isJudged,
  limits,
  memberRoles,
  packArchive,
  schemaViolation,
  submissionDigest,
} from "@envidence/core"
import { nodeCompression } from "@envidence/oci"
import { describe, expect, test } from "vitest"
import { parseArguments as parseEmit } from "../../packages/emit/dist/arguments.js"
import { parseArguments as parseVerify } from "../../packages/verify/dist/arguments.js"
import {
  anchorsOf,
  commandsOf,
  documents,
  fencesOf,
  linksOf,
  readDocument,
  root,
  tableOf,
  withoutCode,
} from "./markdown.js"

const numberOf = (cell = ""): number => Number(cell.replaceAll(",", ""))

describe("SPEC.md's tables", () => {
  test("error codes are those of errors.ts, with their exit codes, in order", () => {
    const rows = tableOf("SPEC.md", "| code | exit | means |")
    expect(rows.map(([code = "", exit]) => [withoutCode(code), numberOf(exit)])).toEqual(Object.entries(exitCodeOf))
    for (const [code, , means] of rows) expect(means, code).toMatch(/[.?]$/)
  })

  test("every code that a step of the verifier names is in the table", () => {
    const named = [...verifierSteps().matchAll(/\(((?:`[a-z-]+`(?:, )?)+)\)/g)]
    const codes = named.flatMap(([, list = ""]) => list.split(", ").map(withoutCode))
    expect(codes.length).toBeGreaterThan(40)
    expect(codes.filter(code => !Object.hasOwn(exitCodeOf, code))).toEqual([])
  })

  test("every code of a refused bundle is at a step of the verifier", () => {
    const refusals = Object.entries(exitCodeOf).filter(([, exit]) => exit >= 4)
    expect(refusals.map(([code]) => code).filter(code => !verifierSteps().includes(`\`${code}\``))).toEqual([])
  })

  test("limits are those of limits.ts", () => {
    const rows = tableOf("SPEC.md", "| limit | value | of |")
    expect(Object.fromEntries(rows.map(([name = "", value]) => [withoutCode(name), numberOf(value)]))).toEqual(limits)
  })

  test("bounds are those of the schemas", () => {
    const rows = tableOf("SPEC.md", "| bound | value | of |")
    expect(rows.length).toBeGreaterThan(0)
    for (const [pointer = "", value] of rows)
      expect(resolvePointer(withoutCode(pointer)), pointer).toBe(numberOf(value))
  })

  test("roles are those of members.ts", () => {
    const rows = tableOf("SPEC.md", "| role | path | media type | in a bundle |").map(row => row.map(withoutCode))
    expect(rows.map(([role]) => role)).toEqual(Object.keys(memberRoles))
    for (const [role = "", path = "", mediaType, often] of rows) {
      const known = memberRoles[role as keyof typeof memberRoles]
      expect(known.path.test(path), path).toBe(true)
      expect(mediaType).toBe(known.mediaType)
      expect(often).toBe(known.required ? "exactly once" : "at will")
    }
  })

  test("schemas are those of schemas/, each with title, description and the $id of its path", () => {
    const listed = tableOf("SPEC.md", "| schema | describes |").map(([link = ""]) => /\[(.*)\]/.exec(link)?.[1])
    expect(listed.toSorted()).toEqual(schemaFiles())
    for (const path of schemaFiles()) {
      const { $id, title, description } = readSchema(path)
      expect($id).toBe(`https://envidence.dev/schemas/v1/${path}`)
      expect(title, path).toMatch(/^[A-Z]\w+$/)
      expect(description, path).toMatch(/\w/)
    }
  })
})

function verifierSteps(): string {
  const text = readDocument("SPEC.md")
  return text.slice(text.indexOf("## Verifier"), text.indexOf("## Assurance"))
}

const schemaFiles = (): string[] =>
  readdirSync(join(root, "schemas"), { recursive: true, encoding: "utf8" })
    .filter(name => name.endsWith(".json"))
    .sort()

const readSchema = (path: string) =>
  JSON.parse(readFileSync(join(root, "schemas", path), "utf8")) as Record<string, unknown>

function resolvePointer(pointer: string): unknown {
  const [file = "", path = ""] = pointer.split("#")
  let value: unknown = readSchema(file)
  for (const key of path.split("/").slice(1)) value = (value as Record<string, unknown> | undefined)?.[key]
  return value
}

describe("SPEC.md's format", () => {
  test("gzip and tar headers are what the writer writes", async () => {
    const [path, content] = ["image/manifest.json", Buffer.from("evidence")]
    const packed = await packArchive([{ path, bytes: content }], nodeCompression)
    const hex = /Its header is exactly `([0-9a-f ]+)`/.exec(readDocument("SPEC.md"))?.[1]
    expect(hex).toBe(
      Buffer.from(packed.subarray(0, 10))
        .toString("hex")
        .replace(/(?<=.)(?=(..)+$)/g, " "),
    )
    const archive = await nodeCompression.inflateRaw(packed.subarray(10, -8), 10_000)
    expect(Buffer.from(archive.subarray(0, 512))).toEqual(headerByTable(path, content.length))
    expect(archive.length).toBe(512 + 512 + 2 * 512)
  })

  test("the submission digest's example is right", async () => {
    const text = readDocument("SPEC.md")
    const list =
      fencesOf("SPEC.md")
        .find(fence => fence.text.startsWith("[{"))
        ?.text.trim() ?? ""
    const [row] = JSON.parse(list)
    expect(row).toMatchObject({ size: 13, sha256: createHash("sha256").update("FROM scratch\n").digest("hex") })
    const digest = await submissionDigest([row])
    expect(digest).toBe(`sha256:${createHash("sha256").update(list).digest("hex")}`)
    expect(text).toContain(`and the digest \`${digest}\``)
  })

  test("the first seeds without a challenge are right", async () => {
    const told = /the first four are ([\d, \n]+)\./.exec(readDocument("SPEC.md"))?.[1]
    expect(told?.split(",").map(Number)).toEqual(await deriveSeeds(null, 4))
  })

  test("JSON examples are valid, and belong together", () => {
    const [statement, manifest, observation, ...others] = fencesOf("SPEC.md")
      .filter(({ language }) => language === "json")
      .map(({ text }) => JSON.parse(text))
    expect(others).toEqual([])
    const { subject, predicate } = assertDocument("StatementDocument", statement, "the statement")
    expect(schemaViolation("PredicateDocument", predicate)).toBeUndefined()
    expect(schemaViolation("ManifestDocument", manifest)).toBeUndefined()
    expect(schemaViolation("OciLabelsObservation", observation)).toBeUndefined()
    const named = Object.fromEntries(subject.map(({ name, digest }) => [name, digest.sha256]))
    const rows = Object.fromEntries(
      manifest.members.map((row: { path: string; sha256: string }) => [row.path, row.sha256]),
    )
    expect(predicate).toMatchObject({
      image: { digest: `sha256:${named.image}` },
      submission: { digest: `sha256:${named.submission}` },
      manifest: { digest: `sha256:${named["manifest.json"]}` },
      criteria: [{ id: "oci-labels", observation: `sha256:${rows["observations/oci-labels.json"]}` }, {}],
    })
    expect(rows["image/manifest.json"]).toBe(named.image)
    const bytes = canonical(observation)
    expect(createHash("sha256").update(bytes).digest("hex")).toBe(rows["observations/oci-labels.json"])
  })
})

// For the example's plain texts and small numbers, sorted keys are all of RFC 8785.
const canonical = (value: unknown): string =>
  JSON.stringify(value, (_, inner) =>
    typeof inner === "object" && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  )

function headerByTable(path: string, size: number): Buffer {
  const block = Buffer.alloc(512)
  const octal = (value: number, digits: number) => value.toString(8).padStart(digits, "0")
  const rows = tableOf("SPEC.md", "| offset | field | bytes |")
  const offsetOf = (name: string) => Number(rows.find(([, field]) => field === name)?.[0])
  for (const [offset, field, cell = ""] of rows) {
    const literal = /^`([^`]*)`$/.exec(cell)?.[1]
    const text =
      field === "name"
        ? path
        : field === "size"
          ? `${octal(size, 11)}\0`
          : field === "checksum"
            ? " ".repeat(8)
            : literal
    if (text === undefined) throw new Error(`the table does not say what ${field} holds`)
    block.write(text.replaceAll("\\0", "\0"), Number(offset), "latin1")
  }
  const sum = block.reduce((total, byte) => total + byte, 0)
  block.write(`${octal(sum, 6)}\0 `, offsetOf("checksum"), "latin1")
  return block
}

const NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve thirteen".split(" ")
const inWords = (count: number): string => NUMBERS[count] ?? String(count)

describe("README.md", () => {
  const judged = catalogue.filter(isJudged).map(row => row.id)
  const planned = catalogue.filter(row => !isJudged(row)).map(row => row.id)

  test("lists the criteria that this version observes, and those that it does not", () => {
    const rows = tableOf("README.md", "| criterion | asks | how it is known |")
    expect(rows.map(([id = ""]) => withoutCode(id))).toEqual(judged)
    const paragraph = /^\w+ more stand in the catalogue[\s\S]*?\n\n/m.exec(readDocument("README.md"))?.[0] ?? ""
    expect(paragraph.split(" ")[0]?.toLowerCase()).toBe(inWords(planned.length))
    expect([...paragraph.matchAll(/`([a-z-]+)`/g)].map(([, id]) => id)).toEqual(planned)
  })

  test("says which of the unmeasured ones the default policy requires", () => {
    const { criteria } = JSON.parse(readFileSync(join(root, "policies", "default.json"), "utf8"))
    const asked = planned.filter(id => criteria[id]?.required === true)
    expect(planned.filter(id => criteria[id]?.requiredWhen !== undefined)).toEqual(["gpu-workload"])
    const said = `requires ${inWords(asked.length)} of these ${inWords(planned.length)}, and one more where GPUs are declared`
    expect(readDocument("README.md").replace(/\s+/g, " ")).toContain(said)
  })

  test("shows a report whose counts are the catalogue's", () => {
    const [screen] = fencesOf("README.md").filter(({ language }) => language === "text")
    expect(screen?.text).toMatch(
      new RegExp(`${judged.length} pass, 0 fail, ${planned.length} unmeasured .*of ${catalogue.length}\n`),
    )
  })

  test("lists every exit code", () => {
    const told = tableOf("README.md", "| exit code | means |").map(([code]) => Number(code))
    expect(told).toEqual([...new Set([0, 3, ...Object.values(exitCodeOf)])].toSorted((a, b) => a - b))
  })
})

describe.each(documents)("%s", document => {
  test("links lead somewhere", () => {
    const broken = linksOf(document).filter(target => !leadsSomewhere(document, target))
    expect(broken).toEqual([])
  })

  test("commands are ones that the tools take", async () => {
    for (const words of commandsOf(document)) await checkCommand(words)
  })

  test("npm scripts exist", () => {
    const { scripts } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { scripts: object }
    const named = [...readDocument(document).matchAll(/npm (?:run (?:--silent )?([\w:-]+)|(test)\b)/g)]
    for (const [, script, test] of named) expect(Object.keys(scripts)).toContain(script ?? test)
  })

  test("flags in the text are ones that a tool has", async () => {
    const known = new Set([...(await flagsOf(parseEmit)), ...(await flagsOf(parseVerify))])
    const prose = readDocument(document).replace(/^( *)```[\s\S]*?^\1```$/gm, "")
    const named = [...prose.matchAll(/`(?:[^`\n]*\s)?(--[a-z][a-z-]*)/g)].map(([, flag = ""]) => flag)
    expect(named.filter(flag => !known.has(flag) && flag !== "--silent")).toEqual([])
  })

  test("names no machine or registry", () => {
    expect(readDocument(document)).not.toMatch(/\/(?:home|root|work|Users)\/|registry\.npmjs|pypi\.org|docker\.io/)
  })
})

function leadsSomewhere(document: string, target: string): boolean {
  if (/^https:\/\//.test(target)) return true
  const [path = "", anchor] = target.split("#")
  const file = path === "" ? document : join(dirname(document), path)
  if (!existsSync(join(root, file))) return false
  return anchor === undefined || anchorsOf(file).includes(anchor)
}

type Parse = (argv: readonly string[], version: string) => Promise<{ readonly text: string } | object>

async function flagsOf(parse: Parse): Promise<string[]> {
  const help = await parse(["--help"], "0")
  if (!("text" in help)) throw new Error("no help")
  return [...help.text.matchAll(/--[a-z][a-z-]*/g)].map(([flag]) => flag)
}

async function checkCommand(words: readonly string[]): Promise<void> {
  const line = words.join(" ")
  const at = words.findIndex(word => word === "emit-evidence" || word === "verify-evidence")
  if (at >= 0 && (at === 0 || words[0] === "npx")) {
    const argv = words.slice(at + 1)
    if (words[at] === "emit-evidence") await expect(parseEmit(argv, "0"), line).resolves.toBeDefined()
    else await checkVerify(argv, line)
  } else if (words[0] === "node") expect(existsSync(join(root, words[1] ?? "")), line).toBe(true)
  else expect(OTHER_PROGRAMS, line).toContain(words[0])
}

const OTHER_PROGRAMS = ["npm", "sudo", "openssl", "rm", "OUT=$(mktemp"]

// A reader who copies the line must not be told that a subject or a signer is missing.
async function checkVerify(argv: readonly string[], line: string): Promise<void> {
  const parsed = await parseVerify(argv, "0")
  if (!("arguments" in parsed) || parsed.arguments.command !== "verify") return
  const { submission, image, imageDigest, key, certificateIdentity, certificateOidcIssuer } = parsed.arguments
  expect([submission, image, imageDigest].some(Boolean), line).toBe(true)
  expect(key !== undefined || (certificateIdentity && certificateOidcIssuer) !== undefined, line).toBe(true)
}
