import { SecureInput } from "@lunacore/react";
import TextField from "@mui/material/TextField";
import { useState } from "react";

/** Material UI's text field around a secure input: its outline, label and message, and nothing of what is typed. */
export function SecureTextField({ id, label, problem, ref, ...field }) {
  const [valid, setValid] = useState(true);
  const wrong = problem ?? (valid ? "" : "Please check this.");
  return (
    <TextField
      id={id} label={label} error={wrong !== ""} helperText={wrong} inputRef={ref} fullWidth
      // The outline tells of the focus.
      sx={{ "& secure-input": { outline: "none" } }}
      slotProps={{
        // What the frame holds does not tell whether the label is in its way.
        inputLabel: { shrink: true },
        input: { inputComponent: SecureInput },
        htmlInput: { ...field, onValidate: setValid },
      }}
    />
  );
}
