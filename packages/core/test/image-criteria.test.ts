// Layout, composition and labels of images, and what a policy excepts.
import {
  criteria,
  type Digest,
  type EvidenceError,
  type Exceptions,
  type ImageView,
  type InventoryEntry,
  type Judgement,
  type PolicyDocument,
  parsePolicy,
  preview,
  readDeclaration,
  requirementOf,
  schemaViolation,
  type ThresholdValues,
} from "@envidence/core"
import { describe, expect, test } from "vitest"

const MIB = 1_048_576
const digest: Digest = `sha256:${"1".repeat(64)}`
const sha256 = (name: string) => Buffer.from(name).toString("hex").padEnd(64, "0").slice(0, 64)

type Change = Partial<InventoryEntry>

/** A file whose content is named, so that equal names are equal bytes. */
const file = (path: string, size: number, content = path, change: Change = {}): InventoryEntry => ({
  path,
  type: "file",
  size,
  mode: 0o644,
  uid: 0,
  gid: 0,
  mtime: 0,
  sha256: sha256(content),
  content: "binary",
  ...change,
})

function imageOf(layers: readonly (readonly InventoryEntry[])[], labels: Record<string, string> = {}): ImageView {
  return {
    manifestDigest: digest,
    configDigest: digest,
    platform: "linux/amd64",
    config: { user: "", labels, env: [], entrypoint: [], cmd: [], workingDir: "" },
    layers: layers.map((entries, i) => ({
      digest,
      diffId: digest,
      mediaType: "",
      size: 0,
      instruction: `RUN step ${i}`,
      entries,
    })),
  }
}

const context = {
  imageDigest: digest,
  configDigest: digest,
  sbomDigest: null,
  builtFromSubmission: false,
  seeds: [],
  signature: "verified",
} as const

interface Asked {
  readonly thresholds?: ThresholdValues
  readonly exceptions?: Exceptions
}

function judge(id: string, image: ImageView, { thresholds = {}, exceptions }: Asked = {}): Judgement {
  const criterion = criteria.get(id)
  const facts = criterion?.inspect?.({ image, declaration: readDeclaration([]), sbom: null })
  if (criterion === undefined || facts === undefined) throw new Error(`${id} is not static`)
  const document = { criterion: id, revision: criterion.revision, facts }
  expect(schemaViolation(criterion.schema, document)).toBeUndefined()
  const defaults = Object.fromEntries(Object.entries(criterion.thresholds).map(([name, { default: of }]) => [name, of]))
  return criterion.judge(facts, { ...defaults, ...thresholds }, context, exceptions)
}

const granting = (...granted: Exceptions["granted"]): Exceptions => ({ policy: "policy ours/1", granted })

describe("archive-free-layout", () => {
  const layout = (layers: readonly (readonly InventoryEntry[])[], asked?: Asked) =>
    judge("archive-free-layout", imageOf(layers), asked)

  test.each(["zip", "gzip", "xz", "tar", "7z", "rpm", "deb", "squashfs", "iso9660", "cpio", "ext", "cab"] as const)(
    "%s above the threshold fails whatever its name, and passes at it",
    content => {
      const seen = layout([[], [file("app/readme.txt", 4 * MIB + 1, "x", { content })]])
      expect(seen.outcome).toBe("fail")
      expect(seen.parts).toEqual([
        expect.objectContaining({
          id: content,
          because: `layer 1 app/readme.txt: ${content}, ${4 * MIB + 1} bytes, by RUN step 1`,
          where: { layer: 1, path: "app/readme.txt", instruction: "RUN step 1", line: null },
        }),
      ])
      expect(seen.remedy).not.toBe("")
      expect(layout([[file("app/data.zip", 4 * MIB, "x", { content })]]).outcome).toBe("pass")
    },
  )
  test("a name makes no archive", () => {
    expect(layout([[file("app/data.zip", 5 * MIB)]]).outcome).toBe("pass")
  })
  test("many small archives fail together", () => {
    const wheels = Array.from({ length: 17 }, (_, i) => file(`w/${i}.whl`, MIB, `${i}`, { content: "zip" }))
    const seen = layout([wheels])
    expect([seen.outcome, seen.parts.length]).toEqual(["fail", 17])
    expect(seen.remedy).toContain("install the wheel in a build stage")
    expect(layout([wheels.slice(1)]).outcome).toBe("pass")
  })
  test("one oversize file fails, and its remedy follows its kind", () => {
    const weights = layout([[file("m/model", 128 * MIB + 1, "m", { content: "safetensors" })]])
    expect([weights.outcome, weights.remedy]).toEqual(["fail", expect.stringContaining("fetch it at run time")])
    expect(layout([[file("bin/node", 128 * MIB, "n", { content: "elf" })]]).outcome).toBe("pass")
    expect(layout([[file("bin/node", MIB, "n")]], { thresholds: { fileBytes: MIB - 1 } }).outcome).toBe("fail")
  })
  test("an archive that a later layer deletes is shipped all the same", () => {
    const archive = file("tmp/a.whl", 5 * MIB, "a", { content: "zip" })
    const [part] = layout([[archive], [file("tmp/.wh.a.whl", 0)]]).parts
    expect(part?.because).toContain("deleted later but still shipped")
  })
  test("more files than are listed hide nothing", () => {
    const many = Array.from({ length: 201 }, (_, i) => file(`a/${i}`, 5 * MIB, "same", { content: "zip" }))
    const granted = many.map(({ path = "" }) => ({ path, sha256: sha256("same"), reason: "because" }))
    const seen = layout([many], { exceptions: granting(...granted) })
    expect([seen.outcome, seen.because]).toEqual(["fail", expect.stringContaining("more files above the thresholds")])
  })
})

describe("composition-inspection", () => {
  const composition = (layers: readonly (readonly InventoryEntry[])[], asked?: Asked) =>
    judge("composition-inspection", imageOf(layers), asked)

  test("passes on files alone, and says that chunks were not inspected", () => {
    const { outcome, because, parts } = composition([[file("a", 10)]])
    expect([outcome, because]).toEqual(["pass", expect.stringContaining("chunk boundaries were not inspected")])
    expect(parts).toEqual([expect.objectContaining({ id: "chunk-boundaries", outcome: "unmeasured" })])
  })
  test("a large file at two paths fails, and names both", () => {
    const seen = composition([[file("a/x", MIB, "same")], [file("b/y", MIB, "same")]])
    expect([seen.outcome, seen.parts[0]?.id]).toEqual(["fail", "duplicate"])
    expect(seen.because).toBe("1 large file shipped more than once")
    expect(seen.parts[0]?.because).toContain("layer 0 a/x by RUN step 0, layer 1 b/y by RUN step 1")
    expect(seen.parts[0]?.where).toMatchObject({ layer: 1, path: "b/y" })
    expect(composition([[file("a", MIB - 1, "same"), file("b", MIB - 1, "same")]]).outcome).toBe("pass")
  })
  test.each<[string, Change]>([
    ["mode", { mode: 0o755 }],
    ["owner", { uid: 1000 }],
    ["time", { mtime: 7 }],
    ["attributes", { xattrs: { "user.a": "YQ==" } }],
    ["written again", {}],
  ])("a file that is shipped again though its content is the same: %s", (what, change) => {
    const seen = composition([[file("a", 2 * MIB, "same")], [file("a", 2 * MIB, "same", change)]])
    expect([seen.outcome, seen.parts[0]?.id]).toEqual(["fail", "rewritten"])
    expect(seen.parts[0]?.because).toContain(`layer 1 a (only ${what}`)
    if (what === "mode" || what === "owner") expect(seen.remedy).toContain("COPY --chmod")
  })
  test("a virtual environment that is copied twice fails, though no file of it is large", () => {
    const venv = (folder: string) => Array.from({ length: 400 }, (_, i) => file(`${folder}/${i}`, 50_000, `${i}`))
    const seen = composition([venv("app/env/.venv"), venv("app/.venv")])
    expect([seen.outcome, seen.observed.duplicateBytes]).toEqual(["fail", 20_000_000])
  })
  test("a file that is moved is shipped twice", () => {
    const seen = composition([[file("tmp/a", MIB, "same")], [file("app/a", MIB, "same"), file("tmp/.wh.a", 0)]])
    expect(seen.remedy).toContain("a later mv")
  })
  test("hard links and empty files are no copies", () => {
    const { sha256: _sha256, content: _content, ...rest } = file("b", 0)
    const link: InventoryEntry = { ...rest, type: "hardlink", linkTarget: "a" }
    const empty = (path: string) => file(path, 0, "", { content: "empty" })
    expect(composition([[file("a", 5 * MIB), link, empty("c"), empty("d")]]).observed.duplicateBytes).toBe(0)
  })
  test("dive's fractions count only where something could be spared", () => {
    const layers = (bytes: number) => [[file("a", bytes, "1")], [file("a", bytes, "2")], [file("a", bytes, "3")]]
    const seen = composition(layers(3 * MIB))
    expect([seen.outcome, seen.because]).toEqual([
      "fail",
      expect.stringMatching(/efficiency 33\.33 %.*wasted, 150\.00 %/),
    ])
    expect(seen.parts[0]?.because).toContain("/a: 3 layers write or delete it")
    // Little enough to be noise.
    expect(composition(layers(MIB)).outcome).toBe("pass")
  })
})

describe("oci-labels", () => {
  const PREFIX = "org.opencontainers.image."
  const honest = {
    title: "x",
    description: "what it is",
    version: "1",
    licenses: "Apache-2.0",
    source: "https://example.com/x",
  }
  const labels = (change: Record<string, string>) => {
    const set = Object.entries({ ...honest, ...change }).map(([name, value]) => [PREFIX + name, value])
    return judge("oci-labels", imageOf([], Object.fromEntries(set)))
  }

  test.each([
    ["licenses", "Apache-2.0 OR MIT"],
    ["licenses", "(GPL-2.0-or-later WITH Classpath-exception-2.0) AND LicenseRef-ours"],
    ["created", "2024-02-29T23:59:60Z"],
    ["created", "2026-01-31T12:00:00.123456+05:30"],
    ["url", "http://[::1]:8080/x"],
    ["source", "https://git.example.com:8443/a/b.git?x#y"],
    ["documentation", "https://example.com"],
    ["base.digest", digest],
    ["version", "v1.0-\u03b2"],
    ["authors", ""],
  ])("%s %j passes", (name, value) => {
    expect(labels({ [name]: value }).outcome).toBe("pass")
  })
  test.each([
    ["licenses", "Apache 2"],
    ["licenses", "apache"],
    ["created", "2023-02-29T00:00:00Z"],
    ["created", "2026-13-01T00:00:00Z"],
    ["created", "2026-01-01 00:00:00"],
    ["created", "yesterday"],
    ["created", "2026-01-01T24:00:00Z"],
    ["url", "example.com"],
    ["source", "git@github.com:a/b.git"],
    ["source", "https://"],
    ["source", "https://exa mple.com/"],
    ["source", "javascript:alert(1)"],
    ["documentation", "/docs"],
    ["base.digest", "sha256:abc"],
  ])("%s %j fails by its form", (name, value) => {
    const seen = labels({ [name]: value })
    expect([seen.outcome, seen.parts.map(({ id }) => id)]).toEqual(["fail", ["malformed"]])
    expect(seen.remedy).toContain(`${PREFIX}${name}=`)
  })
  test.each(["", "  ", "\u200b", "\u2060\ufeff", "\n\t", "\u0000\u0007", "\u3164", "\u2800", "\u00ad", "\u202e"])(
    "a title of %j is empty",
    title => {
      const seen = labels({ title })
      expect([seen.outcome, seen.because]).toEqual(["fail", `missing or empty: ${PREFIX}title`])
    },
  )
  test("a licence of a thousand parentheses, or of sixty thousand, is none", () => {
    for (const count of [1000, 60_000]) expect(labels({ licenses: "(".repeat(count) }).outcome).toBe("fail")
  })
  test("a revision is said to be compared with nothing", () => {
    const { outcome, parts } = labels({ revision: "abc" })
    expect([outcome, parts]).toEqual(["pass", [expect.objectContaining({ id: "revision", outcome: "unmeasured" })]])
  })
})

describe("exceptions", () => {
  const git = file("usr/bin/git", 10, "git")
  const grant = { path: "usr/bin/git", sha256: sha256("git"), reason: "agents use it" }
  const hygiene = (layers: readonly (readonly InventoryEntry[])[], ...granted: Exceptions["granted"]) =>
    judge("multi-stage-hygiene", imageOf(layers), { exceptions: granting(...granted) })

  test("spare one file with its very content, and are shown", () => {
    const seen = hygiene([[git]], grant)
    expect([seen.outcome, seen.because]).toEqual(["pass", expect.stringContaining("but for 1 exception of the policy")])
    expect(seen.observed.exceptions).toEqual([{ ...grant, spared: 1 }])
    expect(seen.parts).toEqual([
      expect.objectContaining({
        outcome: "pass",
        because: expect.stringContaining("excepted by policy ours/1: agents use it"),
      }),
    ])
  })
  test.each([
    ["another content", file("usr/bin/git", 10, "trojan"), grant],
    ["another path", file("usr/local/bin/git", 10, "git"), grant],
    ["a digest left out", git, { ...grant, sha256: null }],
    ["a folder above it", git, { ...grant, path: "usr/bin", sha256: null }],
  ])("spare nothing of %s, and say that they spared nothing", (_, entry, granted) => {
    const seen = hygiene([[entry]], granted)
    expect([seen.outcome, seen.observed.exceptions]).toEqual(["fail", [{ ...granted, spared: 0 }]])
  })
  test("of a folder spare what is reported as the folder, and no secret in it", () => {
    const folder = { path: "app/tests", sha256: null, reason: "the task is to fix them" }
    expect(hygiene([[file("app/tests/a", 1), file("app/tests/b", 1)]], folder).outcome).toBe("pass")
    const key = file("app/tests/tls.key", 1, "k", { content: "private-key" })
    const seen = hygiene([[file("app/tests/a", 1), key]], folder)
    expect([seen.outcome, seen.parts.map(({ id, outcome }) => [id, outcome])]).toEqual([
      "fail",
      [
        ["private-key", "fail"],
        ["fixture", "pass"],
      ],
    ])
  })
  test("spare archives, large files and copies", () => {
    const jar = file("app/x.jar", 20 * MIB, "jar", { content: "zip" })
    const big = file("app/model", 200 * MIB, "model")
    const granted = [jar, big].map(({ path = "" }, i) => ({
      path,
      sha256: sha256(i === 0 ? "jar" : "model"),
      reason: "r",
    }))
    expect(judge("archive-free-layout", imageOf([[jar, big]])).outcome).toBe("fail")
    const spared = judge("archive-free-layout", imageOf([[jar, big]]), { exceptions: granting(...granted) })
    expect([spared.outcome, spared.observed.archiveBytes]).toEqual(["pass", 0])
    const twice = imageOf([[file("a", 9 * MIB, "model")], [file("app/model", 9 * MIB, "model")]])
    expect(judge("composition-inspection", twice).outcome).toBe("fail")
    expect(judge("composition-inspection", twice, { exceptions: granting(...granted) }).outcome).toBe("pass")
  })

  const policy = (exceptions: readonly object[], id = "multi-stage-hygiene") =>
    ({ id: "ours", version: "1", criteria: { [id]: { required: true, exceptions } } }) as PolicyDocument
  const refused = (document: PolicyDocument): string => {
    try {
      parsePolicy(Buffer.from(JSON.stringify(document)), "it")
    } catch (error) {
      return `${(error as EvidenceError).code}: ${(error as EvidenceError).message}`
    }
    return "accepted"
  }
  test("come from the policy that judges", () => {
    expect(refused(policy([grant]))).toBe("accepted")
    const { exceptions } = requirementOf(policy([grant]), "multi-stage-hygiene", readDeclaration([]))
    expect(exceptions).toEqual({ policy: "policy ours/1", granted: [grant] })
    expect(requirementOf(policy([]), "multi-stage-hygiene", readDeclaration([])).exceptions.granted).toEqual([])
  })
  test.each([
    ["a criterion that takes none", policy([grant], "oci-labels"), "takes no exceptions"],
    ["a criterion that is planned", policy([grant], "reward-integrity"), "takes no exceptions"],
    ["a leading slash", policy([{ ...grant, path: "/usr/bin/git" }]), "as in the image's root"],
    ["dots", policy([{ ...grant, path: "usr/../usr/bin/git" }]), "as in the image's root"],
    ["the same twice", policy([grant, { ...grant, reason: "again" }]), "twice"],
    ["no reason", policy([{ ...grant, reason: "" }]), "invalid-policy"],
    ["no digest", policy([{ path: "a", reason: "r" }]), "invalid-policy"],
    ["half a digest", policy([{ ...grant, sha256: "ab" }]), "invalid-policy"],
  ])("with %s are refused", (_, document, because) => {
    expect(refused(document)).toMatch(/^invalid-policy: /)
    expect(refused(document)).toContain(because)
  })
  test("are counted and named on the first screen", async () => {
    const criterion = criteria.get("multi-stage-hygiene")
    const evidence = { image: imageOf([[git]]), declaration: readDeclaration([]), sbom: null }
    const observation = {
      criterion: "multi-stage-hygiene",
      revision: criterion?.revision ?? 0,
      facts: criterion?.inspect?.(evidence) ?? {},
    }
    const observations = {
      observations: new Map([["multi-stage-hygiene", observation as never]]),
      notObserved: new Map(),
    }
    const { buildCheckReport, renderReport } = await import("@envidence/core")
    const ours = policy([grant])
    const findings = preview(observations, evidence.declaration, ours, context)
    const report = await buildCheckReport(findings, ours, evidence.declaration, "")
    expect(schemaViolation("ReportDocument", report)).toBeUndefined()
    const text = renderReport(report, "text")
    expect(text).toMatch(/^Asked for {5}skipped 0 \| exceptions 1 \| declared nondeterminism none$/m)
    expect(text).toMatch(/^Excepted {6}multi-stage-hygiene usr\/bin\/git: agents use it$/m)
  })
})

describe("paths that make a tree larger than their inventory", () => {
  const inspect = (layers: readonly (readonly InventoryEntry[])[]) => () =>
    criteria.get("composition-inspection")?.inspect?.({
      image: imageOf(layers),
      declaration: readDeclaration([]),
      sbom: null,
    })
  const deep = (names: number, first = "d") => `${first}/${"d/".repeat(names - 2)}f`

  test("are judged to the depth that is allowed, deleted folders included", () => {
    expect(inspect([[file(deep(1024), 1)], [file(deep(1024), 2)], [file(".wh.d", 0)]])).not.toThrow()
  })
  test("are refused beyond it", () => {
    expect(inspect([[file(deep(1025), 1)]])).toThrow(expect.objectContaining({ code: "limit-exceeded" }))
  })
  test("are refused where they are too many", () => {
    const many = Array.from({ length: 4000 }, (_, i) => file(deep(1024, `${i}`), 1))
    expect(inspect([many])).toThrow(expect.objectContaining({ code: "limit-exceeded" }))
  })
})

test("criteria look at each entry of a large image a few times, and no more often than in a small one", () => {
  let reads = 0
  const counted = (index: number): InventoryEntry => {
    const path = `usr/lib/python3/dist-packages/package-${index >> 6}/tests/module-${index}.py`
    const { path: _path, ...rest } = file(path, 100, `${index >> 1}`)
    return Object.defineProperty({ ...rest }, "path", {
      enumerable: true,
      get: () => {
        reads++
        return path
      },
    }) as InventoryEntry
  }
  const readsOf = (id: string, entries: number) => {
    const half = Array.from({ length: entries / 2 }, (_, i) => counted(i))
    const image = imageOf([half, Array.from({ length: entries / 2 }, (_, i) => counted(i + entries / 4))])
    reads = 0
    criteria.get(id)?.inspect?.({ image, declaration: readDeclaration([]), sbom: null })
    return reads / entries
  }
  for (const id of ["multi-stage-hygiene", "archive-free-layout", "composition-inspection"]) {
    const [small, large] = [readsOf(id, 4000), readsOf(id, 100_000)]
    expect(large).toBeLessThan(16)
    expect(large).toBeLessThanOrEqual(small)
  }
})
