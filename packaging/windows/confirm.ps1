# Confirms on a Windows machine what the tests could only check over stand-ins. Ten minutes, in an
# elevated PowerShell, in the unpacked project; it makes a user `secretivex-other` and removes it.
#
#   powershell -ExecutionPolicy Bypass -File packaging\windows\confirm.ps1
#
# Send what it prints. Every line begins with ok or FAILED; the exit status is the number of failures.
[CmdletBinding()]
param([string]$Python = 'python')

Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$script:failures = 0
$pipe = 'secretivex-confirm'
$fullPipe = "\\.\pipe\$pipe"
$service = 'SecretiveXAgent'
$work = Join-Path $env:TEMP 'secretivex-confirm'

function Confirm-That([string]$what, [scriptblock]$holds) {
    try { $is = & $holds } catch { $is = $false; $what = "$what ($($_.Exception.Message))" }
    if ($is) { "ok      $what" } else { "FAILED  $what"; $script:failures++ }
}

# One list request; the first byte of the answer must be 12, or the reason why there is none.
$probe = {
    param([string]$server, [string]$name)
    $client = New-Object System.IO.Pipes.NamedPipeClientStream($server, $name, 'InOut')
    try {
        $client.Connect(10000)
        $client.Write([byte[]](0, 0, 0, 1, 11), 0, 5)
        $answer = New-Object byte[] 5
        $got = 0
        while ($got -lt 5) {
            $n = $client.Read($answer, $got, 5 - $got)
            if ($n -eq 0) { return 'hung up' }
            $got += $n
        }
        return "$($answer[4])"
    } catch { return $_.Exception.GetBaseException().GetType().Name } finally { $client.Dispose() }
}

New-Item -ItemType Directory -Force $work | Out-Null
& $Python -m venv "$work\venv"
$bin = "$work\venv\Scripts"
& "$bin\pip.exe" install --quiet '.[agent]'
$agent = "$bin\secretive-agent.exe"
$config = "$work\agent.toml"
Set-Content -Encoding ascii $config "socket_path = '$fullPipe'"

Confirm-That 'check-config accepts the configuration' {
    & $agent check-config --config $config | Out-Null; $LASTEXITCODE -eq 0
}

# Squatting: whoever has the name first keeps the agent from starting, with exit status 5.
$squatter = New-Object System.IO.Pipes.NamedPipeServerStream($pipe)
Confirm-That 'a name that somebody else has is refused with exit 5' {
    & $agent run --config $config 2>$null; $LASTEXITCODE -eq 5
}
$squatter.Dispose()

# The service: start and stop.
Confirm-That 'install makes the service and starts it' {
    & $agent install --config $config | Out-Null
    $LASTEXITCODE -eq 0 -and (Get-Service $service).Status -eq 'Running'
}
Confirm-That 'install again changes nothing' {
    & $agent install --config $config | Out-Null
    $LASTEXITCODE -eq 0 -and (Get-Service $service).Status -eq 'Running'
}
Confirm-That 'status says that it runs' { & $agent status | Out-Null; $LASTEXITCODE -eq 0 }
Confirm-That 'the owner is answered' { (& $probe '.' $pipe) -eq '12' }
Confirm-That 'twenty clients at once are answered' {
    $jobs = 1..20 | ForEach-Object { Start-Job -ScriptBlock $probe -ArgumentList '.', $pipe }
    $answers = $jobs | Wait-Job -Timeout 120 | Receive-Job
    $jobs | Remove-Job -Force
    @($answers | Where-Object { $_ -eq '12' }).Count -eq 20
}

# The access list: the owner and SYSTEM, nobody else.
Confirm-That 'the access list names the owner and SYSTEM alone' {
    $client = New-Object System.IO.Pipes.NamedPipeClientStream('.', $pipe, 'InOut')
    $client.Connect(10000)
    $rules = $client.GetAccessControl().GetAccessRules(
        $true, $true, [System.Security.Principal.SecurityIdentifier])
    $client.Dispose()
    $me = [System.Security.Principal.WindowsIdentity]::GetCurrent().User.Value
    $named = @($rules | ForEach-Object { $_.IdentityReference.Value } | Sort-Object -Unique)
    (Compare-Object $named (@($me, 'S-1-5-18') | Sort-Object)) -eq $null
}
Confirm-That 'a second user is denied' {
    $secret = ConvertTo-SecureString ('Aa1!' + [guid]::NewGuid()) -AsPlainText -Force
    New-LocalUser secretivex-other -Password $secret | Out-Null
    try {
        $who = New-Object System.Management.Automation.PSCredential("$env:COMPUTERNAME\secretivex-other", $secret)
        $job = Start-Job -Credential $who -ScriptBlock $probe -ArgumentList '.', $pipe
        $answer = $job | Wait-Job -Timeout 120 | Receive-Job
        $answer -eq 'UnauthorizedAccessException'
    } finally { Remove-LocalUser secretivex-other }
}
# By the machine's name the pipe is reached through the network, which PIPE_REJECT_REMOTE_CLIENTS ends.
Confirm-That 'a remote client is denied' { (& $probe $env:COMPUTERNAME $pipe) -ne '12' }
Confirm-That 'a second agent is refused with exit 5' {
    & $agent run --config $config 2>$null; $LASTEXITCODE -eq 5
}
if (Get-Command ssh-add.exe -ErrorAction SilentlyContinue) {
    $env:SSH_AUTH_SOCK = $fullPipe
    & ssh-keygen.exe -q -t ed25519 -N '""' -f "$work\key"
    Confirm-That 'ssh-add adds a key' { & ssh-add.exe -q "$work\key" 2>$null; $LASTEXITCODE -eq 0 }
    Confirm-That 'ssh-add -T signs with it' { & ssh-add.exe -T "$work\key.pub"; $LASTEXITCODE -eq 0 }
} else { 'left out: ssh-add.exe is not installed' }

Confirm-That 'the manager''s word that parameters changed reloads' {
    & sc.exe control $service paramchange | Out-Null; $LASTEXITCODE -eq 0
}
Confirm-That 'stop ends it within thirty seconds and gives the name back' {
    Stop-Service $service
    (Get-Service $service).WaitForStatus('Stopped', '00:00:30')
    -not (Test-Path $fullPipe)
}
Confirm-That 'start starts it again' {
    Start-Service $service
    (Get-Service $service).WaitForStatus('Running', '00:00:30')
    (& $probe '.' $pipe) -eq '12'
}
Confirm-That 'uninstall removes it' {
    & $agent uninstall | Out-Null
    $LASTEXITCODE -eq 0 -and -not (Get-Service $service -ErrorAction SilentlyContinue)
}

Remove-Item -Recurse -Force $work
"$script:failures failed"
exit $script:failures
