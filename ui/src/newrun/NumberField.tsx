/** A whole number, or nothing. */
import { TextInput } from "@mantine/core";

interface NumberFieldProps {
  label: string;
  /** What counts while nothing is typed. */
  placeholder?: string;
  value: number | null;
  change: (value: number | null) => void;
  error?: string;
  min: number;
}

export function NumberField({ value, change, ...field }: NumberFieldProps) {
  return (
    <TextInput
      type="number"
      step={1}
      value={value ?? ""}
      onChange={({ currentTarget }) => change(currentTarget.value === "" ? null : Math.trunc(currentTarget.valueAsNumber))}
      {...field}
    />
  );
}
