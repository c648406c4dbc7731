import { SecureForm, SecureParagraph, SecureSpan } from "@lunacore/react";
import Alert from "@mui/material/Alert";
import Button from "@mui/material/Button";
import Stack from "@mui/material/Stack";
import { useState } from "react";
import { Controller, useForm } from "react-hook-form";
import { SecureTextField } from "./secure-text-field.jsx";

/** A form of react-hook-form with fields of Material UI. All that it ever has of the values are tokens. */
export function Profile({ ssn, note }) {
  const { control, handleSubmit } = useForm({ defaultValues: { ssn, note } });
  const [saved, setSaved] = useState({ ssn, note });
  const [told, setTold] = useState(null);
  async function save(tokens) {
    const answer = await fetch("/react", { method: "POST", body: new URLSearchParams(tokens) });
    setTold(answer.ok ? { severity: "success", text: "Saved." } : { severity: "error", text: `Not saved: ${await answer.text()}` });
    if (answer.ok) setSaved(tokens);
  }
  return (
    <Stack spacing={3}>
      <SecureForm onSubmit={handleSubmit(save)} noValidate>
        <Stack spacing={3} sx={{ alignItems: "start" }}>
          <Controller
            name="ssn" control={control} rules={{ required: "Please enter a number." }}
            render={({ field, fieldState }) => (
              <SecureTextField {...field} id="ssn" label="Social security number" validator="ssn" placeholder="000-00-0000" problem={fieldState.error?.message} />
            )}
          />
          <Controller name="note" control={control} render={({ field }) => <SecureTextField {...field} id="note" label="A note" maxLength={400} />} />
          <Button type="submit" variant="contained">Save</Button>
        </Stack>
      </SecureForm>
      {told && <Alert severity={told.severity}>{told.text}</Alert>}
      <section aria-labelledby="shown">
        <h2 id="shown">Shown again</h2>
        <p>Number: <SecureSpan token={saved.ssn} aria-label="Social security number" /></p>
        <SecureParagraph token={saved.note} aria-label="Your note" />
      </section>
    </Stack>
  );
}
