/** An engine that reads numbers as QuickJS does: by their first 38 digits. */
const RealNumber = Number;

export const environment = {
  exact: (text) => RealNumber(text),
  withShortNumbers(call) {
    globalThis.Number = Object.assign(
      (text) => {
        const parts = typeof text === "string" && /^([+-]?)([0-9]*)\.?([0-9]*)(?:[eE]([+-]?[0-9]+))?$/.exec(text);
        if (!parts) return RealNumber(text);
        const [, sign, whole, fraction, exponent = "0"] = parts;
        const digits = (whole + fraction).replace(/^0+/, "");
        const cut = Math.max(0, digits.length - 38);
        const power = RealNumber(exponent) - fraction.length + cut;
        return RealNumber(`${sign}${digits.slice(0, digits.length - cut) || "0"}e${power}`);
      },
      { isFinite: RealNumber.isFinite, isInteger: RealNumber.isInteger, isNaN: RealNumber.isNaN },
    );
    try {
      call();
    } finally {
      globalThis.Number = RealNumber;
    }
  },
};
