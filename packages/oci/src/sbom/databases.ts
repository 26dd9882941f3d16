// Where package managers write down what they installed, and how much of each file is read.

const OS_RELEASE_BYTES = 65_536
const METADATA_BYTES = 4_194_304
const PACKAGE_JSON_BYTES = 1_048_576
const INSTALLED_LOCK_BYTES = 33_554_432
const DPKG_STATUS_BYTES = 67_108_864
const APK_INSTALLED_BYTES = 67_108_864
const RPM_BYTES = 134_217_728
const COPYRIGHT_BYTES = 262_144

export const DPKG_STATUS = "var/lib/dpkg/status"
/** Distroless images keep one file a package here. */
export const DPKG_STATUS_FOLDER = "var/lib/dpkg/status.d/"
export const APK_INSTALLED = ["lib/apk/db/installed", "usr/lib/apk/db/installed"] as const
/** In three formats; Fedora and SUSE keep them below usr, where the first folder is a link to. */
export const RPM_DATABASES = ["var/lib/rpm", "usr/lib/sysimage/rpm", "usr/share/rpm"].flatMap(folder =>
  ["rpmdb.sqlite", "Packages.db", "Packages"].map(name => `${folder}/${name}`),
)
/** In order of precedence (os-release(5)). */
export const OS_RELEASE = ["etc/os-release", "usr/lib/os-release"] as const

const PYTHON_METADATA = /\.dist-info\/METADATA$|\.egg-info(\/PKG-INFO)?$|\.egg\/EGG-INFO\/PKG-INFO$/
export const isPythonMetadata = (path: string): boolean => PYTHON_METADATA.test(path)
export const isDistInfoFolder = (path: string): boolean => path.endsWith(".dist-info")
export const isEggInfoFolder = (path: string): boolean => path.endsWith(".egg-info")

const PACKAGE_JSON = /(^|\/)package\.json$/
export const isPackageJson = (path: string): boolean => PACKAGE_JSON.test(path)
// Others have a package.json too: a program of its own, and folders that only say which kind of module they hold.
const INSTALLED_PACKAGE_JSON = /(^|\/)node_modules\/(@[^/]+\/)?[^/@._][^/]*\/package\.json$/
/** Whether a package manager put this package.json there, with the package it describes. */
export const isInstalledPackageJson = (path: string): boolean => INSTALLED_PACKAGE_JSON.test(path)

const INSTALLED_LOCK = /^((?:.*\/)?)node_modules\/\.package-lock\.json$/
/** The folder that holds node_modules, with a slash at its end, of a file in which npm noted what it installed there. */
export const folderOfInstalledLock = (path: string): string | undefined => INSTALLED_LOCK.exec(path)?.[1]

/** Databases that this version does not read: an image that has one is not described in full. */
const UNREAD_DATABASES = [{ path: /^var\/lib\/pacman\/local\/ALPM_DB_VERSION$/, manager: "pacman" }] as const

export const unreadManager = (path: string): string | undefined =>
  UNREAD_DATABASES.find(database => database.path.test(path))?.manager

const COPYRIGHT = /^usr\/share\/doc\/[^/]+\/copyright$/
export const copyrightOf = (packageName: string): string => `usr/share/doc/${packageName}/copyright`

const BYTES: ReadonlyMap<string, number> = new Map([
  [DPKG_STATUS, DPKG_STATUS_BYTES],
  ...APK_INSTALLED.map(path => [path, APK_INSTALLED_BYTES] as const),
  ...RPM_DATABASES.map(path => [path, RPM_BYTES] as const),
  ...OS_RELEASE.map(path => [path, OS_RELEASE_BYTES] as const),
])

/** How many bytes the SBOM needs of the file at this path in the root file system. */
export function packageDatabaseBytes(path: string): number {
  const bytes = BYTES.get(path)
  if (bytes !== undefined) return bytes
  if (isPythonMetadata(path) || isStatusFragment(path)) return METADATA_BYTES
  if (isPackageJson(path)) return PACKAGE_JSON_BYTES
  if (INSTALLED_LOCK.test(path)) return INSTALLED_LOCK_BYTES
  return COPYRIGHT.test(path) ? COPYRIGHT_BYTES : 0
}

export const isStatusFragment = (path: string): boolean =>
  path.startsWith(DPKG_STATUS_FOLDER) && !path.endsWith(".md5sums")
