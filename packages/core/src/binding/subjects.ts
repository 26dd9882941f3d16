import { type AuthenticatedBundle, subjectDigest } from "../authenticate.js"
import { type Digest, digestOfHex } from "../digest.js"
import { EvidenceError } from "../errors.js"
import { submissionDigest } from "../submission/digest.js"
import { type Binding, broken, type ExpectedSubject } from "./binding.js"

export async function checkSubjects({ bundle, statement, predicate }: AuthenticatedBundle): Promise<void> {
  // Another subject would let tools that look for any one match take this evidence for something else.
  if (statement.subject.length !== 3) throw broken(`the statement has ${statement.subject.length} subjects, not three`)
  const manifest = bundle.members.get("image/manifest.json")
  if (manifest === undefined || subjectDigest(statement, "image") !== manifest.sha256)
    throw broken("the statement's subject `image` is not image/manifest.json")
  if (predicate.image.digest !== digestOfHex(manifest.sha256)) throw broken("the predicate names another image")
  const submission = await submissionDigest(bundle.submission.files)
  if (subjectDigest(statement, "submission") !== submission.slice("sha256:".length))
    throw broken("the statement's subject `submission` is not the list of files in submission.json")
  if (predicate.submission?.digest !== submission || predicate.submission.kind !== bundle.submission.kind)
    throw broken("the predicate names another submission")
}

type Told = { readonly image?: Digest; readonly imageConfig?: Digest; readonly submission?: Digest }
type SubjectName = "image" | "submission"

export function expectedDigests(expected: ExpectedSubject): Told {
  if ("anySubjectUnsafe" in expected) return {}
  if (wantedOf(expected, "image") === undefined && expected.submission === undefined)
    throw new EvidenceError("no-subject-chosen", "no expected subject was given")
  return expected
}

export const wantedOf = (told: Told, subject: SubjectName): Digest | undefined =>
  told[subject] ?? (subject === "image" ? told.imageConfig : undefined)

export function checkExpected({ predicate }: AuthenticatedBundle, subject: SubjectName, told: Told): void {
  const compare = (what: string, wanted: Digest | undefined, found: string) => {
    if (wanted !== undefined && found !== wanted)
      throw new EvidenceError(
        "subject-mismatch",
        `the evidence is about another ${what}: expected ${wanted}, found ${found}`,
      )
  }
  compare(subject, told[subject], predicate[subject]?.digest ?? "none")
  if (subject === "image") compare("image, by its config", told.imageConfig, predicate.image.configDigest)
}

export const describeExpected = (told: Told, subject: SubjectName): string =>
  told[subject] === undefined
    ? `by its config: ${told.imageConfig}; its manifest, and how its layers are compressed, is the signer's word`
    : `it is the ${subject} that the verifier named: ${told[subject]}`

export const notNamed = (subject: SubjectName, expected: ExpectedSubject): Binding => ({
  id: `expected-${subject}`,
  outcome: "not-checked",
  because:
    "anySubjectUnsafe" in expected ? `any ${subject} was accepted, as asked` : `the verifier named no ${subject}`,
})
