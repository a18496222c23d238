/** Numbers as people read them, the same as the server's `wording.py` writes them. */

const UNITS = ["K", "M", "B", "T", "P", "E"];
const NARROW_SPACE = "\u202f";

function divide(value: bigint, by: bigint): bigint {
  return (2n * value + by) / (2n * by);
}

function decimal(scaled: bigint, places: number): string {
  if (places === 0) return scaled.toString();
  const scale = 10n ** BigInt(places);
  return `${scaled / scale}.${(scaled % scale).toString().padStart(places, "0")}`;
}

/** A count of 0 or more in three digits and a unit, rounded half up: `1.23 B`. */
export function shortNumber(value: bigint): string {
  if (value < 1000n) return value.toString();
  for (const [index, unit] of UNITS.entries()) {
    for (const places of [2, 1, 0]) {
      const scaled = divide(value * 10n ** BigInt(places), 1000n ** BigInt(index + 1));
      if (scaled < 1000n) return `${decimal(scaled, places)}${NARROW_SPACE}${unit}`;
    }
  }
  return exactNumber(value);
}

/** Every digit, in groups: `1,234,567,890`. */
export function exactNumber(value: bigint | number): string {
  return value.toString().replace(/\B(?=(\d{3})+$)/g, ",");
}

/** A share of a whole: `40.5 %`; 0 if there is no whole. */
export function percent(part: bigint, whole: bigint, places = 1): string {
  const scaled = whole === 0n ? 0n : divide(part * 100n * 10n ** BigInt(places), whole);
  return `${decimal(scaled, places)}${NARROW_SPACE}%`;
}
